"""MPFM: `method` is what is registered, the other modules are its parts."""

from osad.methods.mpfm import method as method
