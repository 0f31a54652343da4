"""A server of Flower for adapters of tfjs-lora."""
