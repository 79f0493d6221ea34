"""What operators see and do, as data: for commands, for the page and for the HTTP interface alike.

Nothing here prints, asks a person or knows HTTP. Whoever shows it decides how; whoever lets somebody act has asked
before whether they may.
"""
