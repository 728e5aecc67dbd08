"""Many cases at once: cut into blocks, computed by threads, processes or a cluster, kept, resumed, joined."""

from .sweep import sweep

__all__ = ["sweep"]
