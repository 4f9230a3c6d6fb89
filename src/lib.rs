//! Throughline: an observability sidecar for event-driven systems.
