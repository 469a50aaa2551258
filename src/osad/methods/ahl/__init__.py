"""AHL: `method` is what is registered, the other modules are its parts."""

from osad.methods.ahl import method as method
