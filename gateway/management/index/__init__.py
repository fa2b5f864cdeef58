"""The relational index; the only package that imports SQLAlchemy."""
