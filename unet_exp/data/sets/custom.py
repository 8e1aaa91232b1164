"""Images and masks of a reader of the user's own: they are looked at, checked and split as files are."""

from unet_exp.data.sets import DATA_SETS
from unet_exp.data.sets.folder import load_user_data

DATA_SETS["custom"] = load_user_data
