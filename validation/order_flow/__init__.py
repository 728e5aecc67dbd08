"""Who sends orders: flow that knows nothing, flow that excites itself."""

from .zero_intelligence import ZeroIntelligence, ZeroIntelligenceFlow

__all__ = ["ZeroIntelligence", "ZeroIntelligenceFlow"]
