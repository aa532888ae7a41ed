"""The runtime that other programs embed: many episodes over a long time, admitted, watched and stopped in order."""
