"""Watching generations until they are terminal, and what a terminal or a pipe shows meanwhile.

watch    which generations, and their changes: from the stream, and asked for now and then
usual    how long generations of a kind usually take
table    the live table of a terminal
shown    what is printed: the table, a line per change, or JSON per change
"""
