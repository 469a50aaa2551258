"""Flow Mismatching: `method` is what is registered, the other modules are its parts."""

from osad.methods.flow_mismatching import method as method
