"""Whether a model in use still sees what it was made for, and still says what comes true."""
