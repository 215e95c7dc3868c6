"""Texts of the admin's theme, which has no Chinese of its own: named here so that our catalog carries them."""

from django.utils.translation import gettext_noop, ngettext_lazy

# Django's own, where its Chinese says 你 or 帐号: ours says 您 and 账户.
ADDRESSED = (
    gettext_noop(
        'Are you sure you want to delete the %(object_name)s "%(escaped_object)s"? '
        "All of the following related items will be deleted:"
    ),
    gettext_noop("Are you sure?"),
    gettext_noop("Designates whether this user should be treated as active. Unselect this instead of deleting accounts."),
    gettext_noop(
        "Please enter your old password, for security’s sake, and then enter your new password twice so we can verify you typed "
        "it in correctly."
    ),
    gettext_noop(
        "Please enter the correct %(username)s and password for a staff account. Note that both fields may be case-sensitive."
    ),
    gettext_noop("This account is inactive."),
    gettext_noop("You don’t have permission to view or edit anything."),
    gettext_noop("Your old password was entered incorrectly. Please enter it again."),
    gettext_noop("Your password can’t be a commonly used password."),
    gettext_noop("Your password can’t be entirely numeric."),
    gettext_noop("Your password can’t be too similar to your other personal information."),
    ngettext_lazy(
        "Your password must contain at least %(min_length)d character.",
        "Your password must contain at least %(min_length)d characters.",
        "min_length",
    ),
    gettext_noop("Your password was changed."),
)
# Django's own, whose Chinese is older than its English.
DRIFTED = (
    ngettext_lazy(
        "This password is too short. It must contain at least %d character.",
        "This password is too short. It must contain at least %d characters.",
    ),
)
# Why an address is not called (`gateway_client.addresses`, which knows no languages).
ADDRESSES = (
    gettext_noop("The URL is too long, or has spaces, backslashes or control characters."),
    gettext_noop("The URL does not begin with http:// or https://."),
    gettext_noop("The URL is not well formed."),
    gettext_noop("The URL has a user name in it."),
    gettext_noop("The URL's host or port is not a usable one."),
    gettext_noop("The URL's host is an odd spelling of an address."),
    gettext_noop("The URL leads to an address that is not public."),
    gettext_noop("The URL has a query, a fragment or dots in its path."),
    gettext_noop("The URL is too long."),
)
# Of the admin's scripts, which ask the page's catalog and not ours (`WauleAdminSite.i18n_javascript`).
SCRIPT_TEXTS = (
    gettext_noop("(click to clear)"),
    gettext_noop('Choose %s by selecting them and then select the "Choose" arrow button.'),
    gettext_noop("Choose all %s"),
    gettext_noop("Choose selected %s"),
    gettext_noop('Remove %s by selecting them and then select the "Remove" arrow button.'),
    gettext_noop("Remove all %s"),
    gettext_noop("Remove selected %s"),
)
# Names in permissions: of models without a page, and of another's app.
MODEL_NAMES = (
    gettext_noop("Axes"),
    gettext_noop("access attempt"),
    gettext_noop("access attempt expiration"),
    gettext_noop("access failure"),
    gettext_noop("access log"),
    gettext_noop("budget checkpoint"),
    gettext_noop("catalog state"),
    gettext_noop("generation input"),
    gettext_noop("pending result"),
    gettext_noop("periodic task"),
    gettext_noop("proven entry"),
    gettext_noop("provider list"),
    gettext_noop("reservation"),
    gettext_noop("usage progress"),
)
TEXTS = (
    gettext_noop("After you've created a user, you’ll be able to edit more user options."),
    gettext_noop("Error:"),
    gettext_noop("group"),
    gettext_noop("groups"),
    gettext_noop(
        "Raw passwords are not stored, so there is no way to see this "
        "user’s password, but you can change the password using "
        '<a href="{}" class="text-primary-600 dark:text-primary-500">this form</a>.'
    ),
    gettext_noop(" By %(filter_title)s "),
    gettext_noop("Authentication and Authorization"),
    gettext_noop("The {name} “{obj}” was added successfully."),
    gettext_noop("The {name} “{obj}” was added successfully. You may edit it again below."),
    gettext_noop("The {name} “{obj}” was added successfully. You may add another {name} below."),
    gettext_noop("The {name} “{obj}” was changed successfully."),
    gettext_noop("The {name} “{obj}” was changed successfully. You may edit it again below."),
    gettext_noop("The {name} “{obj}” was changed successfully. You may add another {name} below."),
    gettext_noop("Add new item"),
    gettext_noop("Add row"),
    gettext_noop("All applications"),
    gettext_noop("Apply Filters"),
    gettext_noop("Cancel"),
    gettext_noop("Changes"),
    gettext_noop("Choose a date from the list below to revert to a previous version of this object"),
    gettext_noop("Choose file to upload"),
    gettext_noop("Click to cancel"),
    gettext_noop("Click to download"),
    gettext_noop("Collapse"),
    gettext_noop("Current file"),
    gettext_noop("Dark"),
    gettext_noop("Dataset not found. No action performed."),
    gettext_noop("Date"),
    gettext_noop("Date from"),
    gettext_noop("Date to"),
    gettext_noop("Default"),
    gettext_noop("Edit"),
    gettext_noop("Enter an URL"),
    gettext_noop("Expand row"),
    gettext_noop("Export"),
    gettext_noop("False"),
    gettext_noop("General"),
    gettext_noop("Go back"),
    gettext_noop("Group"),
    gettext_noop("Group permissions"),
    gettext_noop("Image preview"),
    gettext_noop("Import"),
    gettext_noop("Light"),
    gettext_noop("Line number"),
    gettext_noop("Link"),
    gettext_noop("Loading more results..."),
    gettext_noop("More actions"),
    gettext_noop("New"),
    gettext_noop("Next"),
    gettext_noop("No data"),
    gettext_noop("No recent searches"),
    gettext_noop("No results found"),
    gettext_noop("No results matching your query"),
    gettext_noop("Not enough data."),
    gettext_noop("Object permissions"),
    gettext_noop("Previous"),
    gettext_noop("Recent searches"),
    gettext_noop("Reset filters"),
    gettext_noop("Reset to default"),
    gettext_noop("Return to site"),
    gettext_noop("Row"),
    gettext_noop("Run"),
    gettext_noop("Search apps and models..."),
    gettext_noop("Select action"),
    gettext_noop("Select action to run"),
    gettext_noop("Select all rows"),
    gettext_noop("Select format"),
    gettext_noop("Select record"),
    gettext_noop("Select value"),
    gettext_noop("Submit"),
    gettext_noop("System"),
    gettext_noop("This item will be deleted."),
    gettext_noop("This page yielded into no results. Create a new item or reset your filters."),
    gettext_noop("To"),
    gettext_noop("Toggle password visibility"),
    gettext_noop("True"),
    gettext_noop("Type to search"),
    gettext_noop("Undo"),
    gettext_noop("Update"),
    gettext_noop("User permissions"),
    gettext_noop("Value"),
    gettext_noop("Welcome"),
    gettext_noop("Welcome back to"),
    gettext_noop("You can not create nested object without parent"),
    gettext_noop("You have been successfully logged out from the administration"),
)
