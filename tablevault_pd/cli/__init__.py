"""The command line: ``tablevault-pd``, over the same calls as Python."""
