"""Pretrained weights and data that packages of public registries carry."""
