"""Image files to rows of pixels, and the forms that X may have."""
