"""What somebody pastes where keys belong: two of Gemini's, one of a form that nobody knows, and what can be none."""

G = "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY"
H = "AIzaSyB-8uTqlf83QpvRNoNY_b8fATX1klGNCXZ"
OTHER = "relay-key-0123456789abcdef"  # of a form that nobody knows
LINES = [f"frankfurt,{G}", f"GEMINI_API_KEY={H}", "1.23457E+19", f"{G[:10]}…", f"{OTHER}", f"x {G}"]
