"""Neural fields: encodings, sampling, compositing and the networks that explain images."""
