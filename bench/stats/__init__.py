"""The negative transfer gap with its interval, correction and verdict. Reads rows; never trains."""
