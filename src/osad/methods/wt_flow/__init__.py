"""WT-Flow: `method` is what is registered, the other modules are its parts."""

from osad.methods.wt_flow import method as method
