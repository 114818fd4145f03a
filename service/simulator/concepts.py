"""The camera concepts that Dream Machine lists, and some of the older camera motions."""

CONCEPTS = (
    "truck_left", "pan_right", "pedestal_down", "low_angle", "pedestal_up", "selfie", "pan_left",
    "roll_right", "zoom_in", "over_the_shoulder", "orbit_right", "orbit_left", "static",
    "tiny_planet", "high_angle", "bolt_cam", "dolly_zoom", "overhead", "zoom_out", "handheld",
    "roll_left", "pov", "aerial_drone", "push_in", "crane_down", "truck_right", "tilt_down",
    "elevator_doors", "tilt_up", "ground_level", "pull_out", "aerial", "crane_up", "eye_level",
)  # fmt: skip

CAMERA_MOTIONS = (
    "camera orbit left", "camera orbit right", "camera pan left", "camera pan right",
    "camera push in", "camera pull out", "camera zoom in", "camera zoom out",
)  # fmt: skip
"""Concepts replaced them in 2025. Luma's complete list is not known; these have its form."""
