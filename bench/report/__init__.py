"""Tables, figures and sentences made from rows. Never trains and never imports torch."""
