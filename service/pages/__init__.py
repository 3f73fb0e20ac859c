"""Pages for people: plain HTML, one style sheet, nothing from outside; filled from the served bundle."""
