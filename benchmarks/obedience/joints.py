"""The indices of HumanML3D's joints, the frame rate, and the order of the sides: pairs of joints are (left, right)."""

FPS = 20
PELVIS, NECK, HEAD = 0, 12, 15
HIPS, KNEES, ANKLES, TOES = (1, 2), (4, 5), (7, 8), (10, 11)
SHOULDERS, ELBOWS, WRISTS = (16, 17), (18, 19), (20, 21)
TRUNK = (PELVIS, 3, 6, 9, NECK, HEAD)
LEFT, RIGHT = 0, 1
