"""The ledger of a run folder: its lines, the records they hold, and what is kept beside them.

``file`` appends and reads lines, ``lock`` keeps other runs out, ``records`` has a class for each kind of record,
``unit_records`` makes those of trials and source models, ``index`` gathers what planning and resuming need, ``rows``
and ``results`` give tables. ``model_files``, ``example_weights`` and ``predictions`` know the files beside the ledger.
"""
