"""Who answers what share of which endpoint."""
