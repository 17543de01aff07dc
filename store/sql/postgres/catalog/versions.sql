select tenant, version from catalog where tenant = any ($1)
