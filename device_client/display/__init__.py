"""A ward's wall display: what it says is decided in ``screen`` without a screen, ``paint`` draws it with pygame."""
