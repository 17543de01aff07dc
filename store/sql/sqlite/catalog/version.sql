select version from catalog where tenant = ?1
