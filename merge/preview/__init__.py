"""The letters before they are sent: as files, and as a page. Nothing here can reach a carrier."""
