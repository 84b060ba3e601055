// Times in the reader's zone (UTC on hover), and the switch between light and dark.
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const pad = (number) => String(number).padStart(2, "0");
  const written = (moment) =>
    `${moment.getFullYear()}-${pad(moment.getMonth() + 1)}-${pad(moment.getDate())} ` +
    `${pad(moment.getHours())}:${pad(moment.getMinutes())}:${pad(moment.getSeconds())}`;

  const times = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      if (!time.dateTime || Number.isNaN(moment.valueOf()) || time.dataset.local) continue;
      const utc = `${time.dateTime.replace("T", " ").replace("Z", "")} UTC`;
      const isPlain = /^\d{4}-/.test(time.textContent);
      if (isPlain) time.textContent = written(moment);
      time.title = isPlain ? utc : `${written(moment)} · ${utc}`;
      time.dataset.local = "yes";
    }
  };

  const root = document.documentElement;
  const isDark = () =>
    (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const label = (button) => { button.textContent = isDark() ? "Light" : "Dark"; };

  document.addEventListener("DOMContentLoaded", () => {
    times(document);
    for (const one of document.querySelectorAll("[data-zone]")) {
      one.textContent = `Times are in your zone, ${zone}; hover for UTC. Dates that you write are in UTC.`;
    }
    const button = document.querySelector("[data-theme-toggle]");
    button.hidden = false;
    label(button);
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      label(button);
      try { localStorage.setItem("theme", root.dataset.theme); } catch { /* then it holds for this page */ }
      document.dispatchEvent(new Event("archiver:theme"));
    });
  });
  document.addEventListener("htmx:afterSettle", () => times(document));
})();
