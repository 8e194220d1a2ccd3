"""Training data: data sets, their mixing, what is drawn and how it is composed."""
