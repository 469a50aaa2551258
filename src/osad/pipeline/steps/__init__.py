"""The steps that the rules run, one module each with `main(argv)`."""
