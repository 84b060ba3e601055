"""The archive for Akinon Integrator logs."""
