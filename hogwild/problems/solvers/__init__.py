"""Reference solvers: what finds and certifies the minima that suboptimality is measured against."""
