"""Pictures of stages, for `plot` at the prompt: a line for one row, a heat map for several."""

import os

import numpy


def save(path, values, rows, columns, title, row_name, column_name):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    grid = numpy.frombuffer(values, dtype=numpy.float32).reshape(rows, columns)
    figure, axes = pyplot.subplots(figsize=(9, 5))
    try:
        if rows == 1:
            axes.plot(grid[0])
            axes.set_ylabel("value")
        else:
            size = numpy.log10(numpy.maximum(numpy.abs(grid), 1e-30))
            finite = size[numpy.isfinite(size) & (grid != 0)]
            low, high = (finite.min(), finite.max()) if finite.size else (0, 1)
            image = axes.imshow(size, aspect="auto", interpolation="nearest", vmin=low, vmax=high)
            figure.colorbar(image, label="log10 |value|")
            axes.set_ylabel(row_name)
        axes.set_xlabel(column_name)
        axes.set_title(title)
        # Write beside the target, then rename: if writing fails, an earlier picture is not lost.
        temporary = f"{path}.{os.getpid()}.tmp"
        try:
            figure.savefig(temporary, format="png")
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.remove(temporary)
            raise
    finally:
        pyplot.close(figure)
