"""One operator a file, named for what it does; each calls one stage."""
