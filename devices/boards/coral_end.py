"""Coral's end of life, and what keeps it going: one person's work, not Google's. Profiles, doctor and runtime say the same words."""

# Source: codyogden/killedbygoogle#1641. Checked 2026-11-30; the maker's notice that it links was not opened.
END_OF_LIFE = "since July 2024; its runtime libedgetpu is archived since October 2025 (last change in March 2024)"

# Sources: LiteRT#3611, google/gasket-driver#50. Checked 2026-11-30.
COMMUNITY_LIBRARY = "the community build github.com/feranick/libedgetpu (one maintainer's, not Google's)"
COMMUNITY_DRIVER = "the community build github.com/feranick/gasket-driver (1.0-18.4 or later; one maintainer's, not Google's)"
