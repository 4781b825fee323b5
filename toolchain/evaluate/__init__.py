"""How right a model is: COCO AP, paired intervals of its loss, agreement of two models."""
