// Times in the reader's zone (UTC on hover), and the choice between light and dark.
(() => {
  const times = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      if (!time.dateTime || Number.isNaN(moment.valueOf()) || time.dataset.local) continue;
      const local = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
      time.title = `${local} · ${time.dateTime} UTC`.replace("Z UTC", " UTC");
      if (time.textContent === time.dateTime) time.textContent = local;
      time.dataset.local = "yes";
    }
  };

  const root = document.documentElement;
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = (button) => { button.textContent = dark() ? "Light" : "Dark"; };

  try { const kept = localStorage.getItem("theme"); if (kept) root.dataset.theme = kept; } catch { /* a browser that keeps nothing */ }

  document.addEventListener("DOMContentLoaded", () => {
    times(document);
    const button = document.querySelector("[data-theme-toggle]");
    button.hidden = false;
    label(button);
    button.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      label(button);
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* then it holds for this page */ }
    });
  });
  document.addEventListener("htmx:afterSettle", () => times(document));
})();
