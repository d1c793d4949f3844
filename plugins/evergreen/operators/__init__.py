"""One operator per file, named for what it does; each calls one stage."""
