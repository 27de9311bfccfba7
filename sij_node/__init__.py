"""A PACS node that receives, queues, analyses, reports and delivers."""

from importlib.metadata import version

__version__ = version("sij-node")
