"""Run by Alembic to bring a database up to date, within the transaction it is given."""

from alembic import context

from sij_node.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
