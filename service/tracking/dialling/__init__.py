"""Requests to addresses that users name; each address is checked when it is dialled.

dialler      posts a message, bounded in time and size, or lets a thread take a file
connections  posts, through httpcore
downloads    downloads: dials, and gives the connection to a thread
exchange     what the thread does: sends the request, and reads the answer
guard        resolves names, and connects to addresses that may be reached, and to no others
target       what a URL says of where a request goes
reply        what a request leads to, and how names are resolved
"""
