"""Whether a workspace keeps its promises."""
