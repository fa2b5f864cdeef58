"""From instances to sealed objects: a module for each layer, and the bench that they share."""
