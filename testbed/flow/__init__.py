"""The graded bench's pictures and captions, learned by a transformer that is trained by flow matching."""
