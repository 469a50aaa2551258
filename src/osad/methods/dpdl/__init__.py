"""DPDL: `method` is what is registered, the other modules are its parts."""

from osad.methods.dpdl import method as method
