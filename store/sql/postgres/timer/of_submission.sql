select kind, subject, due_at from timer where tenant = $1 and submission = $2
