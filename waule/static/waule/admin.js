// Tells the server the reader's time zone, so that pages show times in it.
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.split("; ").includes(`time_zone=${zone}`)) {
    const site = location.pathname.startsWith("/console/") ? "/console/" : "/admin/";
    document.cookie = `time_zone=${zone}; path=${site}; max-age=31536000; samesite=lax`;
  }
})();

// Copies the text of another element; without the clipboard's permission it is at least selected.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const range = document.createRange();
  range.selectNodeContents(source);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    if (!document.execCommand("copy")) return;
  }
  button.querySelector("[data-copy-text]").textContent = button.dataset.copied;
});

// A picture that is gone leaves an icon, not a torn image.
document.addEventListener("error", (event) => {
  if (!event.target.classList?.contains("waule-thumb")) return;
  const icon = document.createElement("span");
  icon.className = "waule-thumb material-symbols-outlined";
  icon.textContent = "broken_image";
  event.target.replaceWith(icon);
}, true);

// Fields that say nothing for the chosen model are hidden, until something was typed into them.
document.addEventListener("DOMContentLoaded", () => {
  const chosen = document.querySelector("select[data-billing-types]");
  if (!chosen) return;
  const types = JSON.parse(chosen.dataset.billingTypes);
  const show = () => {
    for (const field of chosen.form.querySelectorAll("[data-applies-to]")) {
      const applies = !types[chosen.value] || field.dataset.appliesTo.split(" ").includes(types[chosen.value]);
      field.closest(".group").hidden = !applies && !field.value;
    }
  };
  chosen.addEventListener("change", show);
  if (window.jQuery) window.jQuery(chosen).on("change", show);
  show();
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) window.print();
});

// The calendar beside dates: Django's names its days by English letters in Chinese too, and puts the month before the year.
document.addEventListener("DOMContentLoaded", () => {
  const calendar = window.CalendarNamespace;
  if (!calendar) return;
  const write = (options, ...day) => new Intl.DateTimeFormat(document.documentElement.lang, options).format(new Date(...day));
  calendar.daysOfWeekInitial = [1, 2, 3, 4, 5, 6, 7].map((day) => write({weekday: "narrow"}, 2023, 0, day));  // the 1st: a Sunday
  const draw = calendar.draw;
  calendar.draw = (month, year, place, ...rest) => {
    draw(month, year, place, ...rest);
    const caption = document.getElementById(place).querySelector("caption");
    caption.textContent = write({year: "numeric", month: "long"}, year, month - 1);
  };
});
