"""Indices of HumanML3D's joints, frame rate, and order of the sides. Pairs of joints are (left, right)."""

FPS = 20
PELVIS, NECK, HEAD = 0, 12, 15
HIPS, KNEES, ANKLES, TOES = (1, 2), (4, 5), (7, 8), (10, 11)
SHOULDERS, ELBOWS, WRISTS = (16, 17), (18, 19), (20, 21)
TRUNK = (PELVIS, 3, 6, 9, NECK, HEAD)
LEFT, RIGHT = 0, 1
