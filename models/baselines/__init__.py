"""Methods that DeGRe is measured against, one file each. Every file names its paper and what it leaves out."""
