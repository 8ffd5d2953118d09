"""What each layer's inverse loses in float32 and bfloat16, against n, k and weight scale.

    python reproductions/accuracy.py -m method=finc channels=24 points=[n16,s0.2]

A cell is one method at all points. A point is ``n<size>``, ``k<size>`` or ``s<scale>`` around
n = 32, k = 3 and scale 0: a scale of 0.1 adds N(0, 0.1) to every parameter of the layer as its
paper initializes it.
"""

from invconv.tables import main

if __name__ == "__main__":
    main("accuracy")
