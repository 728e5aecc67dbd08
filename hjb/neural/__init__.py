"""Value functions as small networks, trained on the equation's own residual: `Neural`, its equations and its proof."""
